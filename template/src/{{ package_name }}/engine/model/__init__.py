"""The model as plain data, and its versions."""
