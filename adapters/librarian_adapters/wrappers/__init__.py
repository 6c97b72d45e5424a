"""What every adapter is put into: patience, least rates, verification."""
