"""`python -m nfc` is `nfc`."""

from nfc.cli import main

if __name__ == "__main__":
    main()
