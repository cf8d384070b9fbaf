"""The walk through a load, one relocation in numbers, rules with examples, lessons. Nothing here prints."""
