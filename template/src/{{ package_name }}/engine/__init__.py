"""The template's machinery: it imports nothing of this project's own modules."""
