"""Colours for programs and packet tests in documents: lexers for Pygments, which finds them by
name (nf, nft). Their words are those of the grammars, so that they cannot fall behind."""
