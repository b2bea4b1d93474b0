"""A report's content and its forms."""
