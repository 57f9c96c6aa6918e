"""What a kernel's verifier will say of an object; knows nothing of how the object was made."""
