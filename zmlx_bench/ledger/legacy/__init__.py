"""Import of the predecessor's files: one module a layout, a registry that names it, and the store."""
