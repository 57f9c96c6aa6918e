import click


@click.command()
def undeploy() -> None:
    pass
