"""Working through everyone's records in bounded memory, part by part."""
