"""The predecessor's files: read, judged, kept apart."""
