"""The paper's tables and figures, made from run folders and compared with published numbers."""
