"""What views show."""
