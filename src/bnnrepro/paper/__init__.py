"""The paper: published numbers, tables and figures, made from run folders alone."""
