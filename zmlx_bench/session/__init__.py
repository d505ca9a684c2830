"""Plans, supervises, records and resumes sessions."""
