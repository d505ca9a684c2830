"""What brings older documents to the present version: plain data in and out, one function a version and kind."""
