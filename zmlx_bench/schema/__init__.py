"""The file formats: pydantic models of everything that zmlx reads or writes. Nothing else knows them."""
