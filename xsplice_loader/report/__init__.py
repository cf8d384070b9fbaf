"""Results to text, JSON and files."""
