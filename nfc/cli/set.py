import click


@click.command()
def set_() -> None:
    pass
