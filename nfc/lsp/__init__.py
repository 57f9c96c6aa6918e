"""The language server: what an editor asks about a program, answered while it is typed.

A file is cut into parts (nfc/syntax/parser.py) that are known by their text, so a change costs
one part. In each part the names are found from its tokens alone (`mentions`), which works on text
that does not parse; what they stand for comes from the declarations of the program (`program`).
"""
