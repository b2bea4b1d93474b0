"""The paper's tables and figures, made of run folders: ours beside what was published."""
