"""`nfc completion`: what makes a shell complete commands, options and files of nfc."""

from __future__ import annotations

import click

SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/nfc",
    "zsh": "~/.zfunc/_nfc",
    "fish": "~/.config/fish/completions/nfc.fish",
}
# Behind `param=` comes its value, and no space; fish does so by itself.
_VALUES_FOLLOW = {
    "bash": {
        "    return 0\n": "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n    return 0\n",
    },
    "zsh": {
        "        compadd -U -V": "        local -a end\n"
        "        [[ $completions[1] == *= ]] && end=(-S '')\n"
        '        compadd "${end[@]}" -U -V',
    },
}


@click.command()
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
def completion(shell: str) -> None:
    """Print a script that teaches a shell to complete nfc's commands, options and files.

    Put it where the shell looks, and start a new shell:

    \b
    nfc completion bash > ~/.local/share/bash-completion/completions/nfc
    nfc completion zsh  > ~/.zfunc/_nfc    (with ~/.zfunc in fpath, before compinit)
    nfc completion fish > ~/.config/fish/completions/nfc.fish
    """
    click.echo(script(shell))


def script(shell: str) -> str:
    """The script for a shell of SHELLS; it asks the `nfc` in PATH at each completion."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, shell
    made = found(click.Command("nfc"), {}, "nfc", "_NFC_COMPLETE")
    # Not `source()`: that runs bash to complain about old ones.
    text = made.source_template % made.source_vars()
    for before, after in _VALUES_FOLLOW.get(shell, {}).items():
        text = text.replace(before, after)
    return text
