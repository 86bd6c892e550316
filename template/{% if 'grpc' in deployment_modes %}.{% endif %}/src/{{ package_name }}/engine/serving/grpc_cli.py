"""`ml grpc`: serve, write the interface, look whether a service is up, ask it."""

from pathlib import Path
from typing import Annotated

import typer

from ..console import AsJson, show
from ..settings import find_project
from ..storage import project_lock

PORT, METRICS_PORT = 50051, 9464
app = typer.Typer(help="The gRPC service and its interface.", no_args_is_help=True)

Address = Annotated[str, typer.Option(help="HOST:PORT of the service.")]
Authority = Annotated[
    Path | None, typer.Option(help="PEM of who signed its certificate; none: without TLS.")
]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Default: config.yaml.")] = None,
    port: Annotated[int, typer.Option(envvar="ML_GRPC_PORT", min=0, max=65535)] = PORT,
    metrics_port: Annotated[
        int, typer.Option(envvar="ML_GRPC_METRICS_PORT", min=0, max=65535, help="Of Prometheus.")
    ] = METRICS_PORT,
    tls_cert: Annotated[
        Path | None, typer.Option(envvar="ML_GRPC_TLS_CERT", help="PEM; none: without TLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="ML_GRPC_TLS_KEY")] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(envvar="ML_GRPC_TLS_CA", help="PEM of who signs the certificates of callers."),
    ] = None,
) -> None:
    """Serve the champion over gRPC."""
    from ..errors import ProjectError
    from . import grpc

    if bool(tls_cert) != bool(tls_key) or (tls_ca and not tls_cert):
        raise ProjectError("TLS needs both --tls-cert and --tls-key")
    tls = grpc.Tls(tls_cert, tls_key, tls_ca) if tls_cert and tls_key else None
    project = find_project()
    grpc.run(project, host or project.config.serving.host, port, metrics_port, tls)


@app.command()
def proto(
    check: Annotated[bool, typer.Option(help="Write nothing; exit 1 if it is behind.")] = False,
) -> None:
    """Write contracts/predict.proto for the champion; numbers that it has stay."""
    from ..errors import CheckFailed
    from . import proto as interface

    project = find_project()
    with project_lock(project.root):
        changed = interface.write(project, check=check)
    if check and changed:
        raise CheckFailed(f"{interface.FILE} is behind the champion: run `ml grpc proto`")
    typer.echo(f"{interface.FILE}: {'written' if changed else 'up to date'}")


@app.command("check")
def health(address: Address = f"localhost:{PORT}", tls_ca: Authority = None) -> None:
    """Ask whether a service is ready; exit 1 when it is not."""
    from . import grpc_client

    grpc_client.check(address, tls_ca)
    typer.echo(f"{address} is ready")


@app.command()
def ask(
    rows: Annotated[
        Path | None, typer.Argument(help="JSON of a row or a list; none: an example.")
    ] = None,
    address: Address = f"localhost:{PORT}",
    tls_ca: Authority = None,
    key: Annotated[
        str, typer.Option(envvar="ML_GRPC_KEY", help="Key or token, where one is asked for.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Send rows to a service, whose interface is found by reflection, and show the answer."""
    from . import grpc_client

    answer = grpc_client.ask(find_project(), rows, address, tls_ca, key)
    lines = [", ".join(f"{k}: {v}" for k, v in row.items()) for row in answer["predictions"]]
    show(answer, as_json, "\n".join([f"model {answer['model_version']}", *lines]))
