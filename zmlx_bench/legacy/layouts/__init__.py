"""One module a layout of the predecessor's files."""
