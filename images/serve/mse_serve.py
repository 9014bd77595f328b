"""Serves one Python web application inside an enclave.

The enclave starts this file with the interpreter of a curated environment:

    python -I -u -B mse_serve.py --prepare --app-dir /app --deps /deps
    python -I -u -B mse_serve.py --app app:app --uds /run/mse/app.sock --app-dir /app --deps /deps

The first form installs what `requirements.txt` asks for beyond the environment; the second
imports the application, finds out whether it speaks WSGI or ASGI, and serves it. Standard
library and granian only: this file is measured with the image.

Exit codes: 0 stopped by SIGTERM, 2 wrong usage, 3 the application's import failed,
4 the named object is not an application, 5 its start-up failed, 6 its requirements failed.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import linecache
import os
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

IMPORT_FAILED = 3
NOT_AN_APPLICATION = 4
STARTUP_FAILED = 5
REQUIREMENTS_FAILED = 6


class Interface(str, Enum):
    WSGI = "wsgi"
    ASGI = "asgi"


class Failure(Exception):
    """Ends the program with `code` after telling its reader `message`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def main() -> None:
    options = parse_arguments()
    if not options.show_source:
        hide_source()
    try:
        if options.prepare:
            install_requirements(options.app_dir, options.deps)
            return
        extend_path(options.app_dir, options.deps)
        app = load(options.app)
        interface = interface_of(app, options.app)
        if options.check:
            print(interface.value, flush=True)
            return
        serve(app, interface, options)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr, flush=True)
        sys.exit(failure.code)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mse_serve.py", description="Serves a WSGI or ASGI application."
    )
    parser.add_argument("--app-dir", type=Path, required=True, help="directory of the code")
    parser.add_argument("--deps", type=Path, help="directory of packages from requirements.txt")
    parser.add_argument("--app", metavar="MODULE:VARIABLE", help="the application")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--uds", type=Path, metavar="PATH", help="serve on this UNIX socket")
    action.add_argument("--tcp", metavar="HOST:PORT", help="serve on this TCP address")
    action.add_argument("--check", action="store_true", help="import, print `wsgi` or `asgi`")
    action.add_argument("--prepare", action="store_true", help="install requirements.txt to --deps")
    parser.add_argument(
        "--scheme",
        choices=["http", "https"],
        default="https",
        help="scheme the clients use: TLS ends before this server (default: https)",
    )
    parser.add_argument(
        "--show-source",
        action="store_true",
        help="show lines of the code in tracebacks; without it the log gives only files and lines",
    )
    options = parser.parse_args()
    if options.prepare and options.deps is None:
        parser.error("--prepare needs --deps")
    if not options.prepare and options.app is None:
        parser.error("--app is required")
    if options.app is not None and not all(options.app.partition(":")):
        parser.error(f"--app: `{options.app}` is not of the form `module:variable`")
    return options


# --- The log


def hide_source() -> None:
    """Keeps lines of the code out of tracebacks: standard error is a log that the platform's
    operator keeps, and the code is not the operator's to read."""
    linecache.getlines = lambda *_, **__: []
    linecache.getline = lambda *_, **__: ""
    # The interpreter's own hooks read source files without linecache.
    sys.excepthook = lambda _, error, __: print_error(error)
    sys.unraisablehook = lambda hook: print_error(hook.exc_value)
    threading.excepthook = lambda hook: print_error(hook.exc_value)


def print_error(error: BaseException | None) -> None:
    if error is None:
        return
    # A syntax error carries the line that it is about.
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, SyntaxError):
            link.text = None
        link = link.__cause__ or link.__context__
    traceback.print_exception(error)


# --- Requirements


def install_requirements(app_dir: Path, deps: Path) -> None:
    requirements = app_dir / "requirements.txt"
    if not requirements.is_file():
        return
    if run_pip(["--dry-run", "--no-index", "--quiet", "--quiet"], requirements).returncode == 0:
        print("requirements.txt: all in the image already", flush=True)
        return
    hashed = "--hash=" in requirements.read_text(encoding="utf-8")
    if not hashed:
        print(
            "warning: packages of `requirements.txt` without hashes are not covered by the "
            "measurement: whoever serves them decides what runs. Pin them with "
            "`pip-compile --generate-hashes` or `uv pip compile --generate-hashes`",
            file=sys.stderr,
            flush=True,
        )
    arguments = ["--target", str(deps), "--upgrade"]
    arguments += ["--require-hashes"] if hashed else []
    done = run_pip(arguments, requirements)
    print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        raise Failure(
            REQUIREMENTS_FAILED, f"`requirements.txt` could not be installed:\n{done.stderr.strip()}"
        )


def run_pip(arguments: list[str], requirements: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-m", "pip", "install", "--no-input", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore"]
    return subprocess.run(
        [*command, *arguments, "--requirement", str(requirements)],
        # A requirements file may name others relative to itself.
        cwd=requirements.parent,
        capture_output=True,
        text=True,
        check=False,
    )


# --- Finding the application


def extend_path(app_dir: Path, deps: Path | None) -> None:
    """The code comes first, as it would for a program started in its directory. What it requires
    comes before the environment, because it may ask for another version, and after the
    standard library, which no package may replace."""
    if deps is not None and deps.is_dir():
        packages = (i for i, entry in enumerate(sys.path) if entry.endswith("site-packages"))
        sys.path.insert(next(packages, len(sys.path)), str(deps.resolve()))
    sys.path.insert(0, str(app_dir.resolve()))
    os.chdir(app_dir)


def load(target: str) -> Any:
    module_name, _, variable = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    # An application that calls `sys.exit` while it is imported has failed to import as well.
    except BaseException as error:
        print_error(error)
        raise Failure(IMPORT_FAILED, f"`{module_name}` could not be imported") from error
    try:
        return getattr(module, variable)
    except AttributeError:
        raise Failure(
            NOT_AN_APPLICATION, f"module `{module_name}` has no variable `{variable}`"
        ) from None


def interface_of(app: Any, target: str) -> Interface:
    """WSGI is called with 2 arguments (PEP 3333), ASGI 3 with 3 and gives an awaitable."""

    def refuse(problem: str) -> NoReturn:
        raise Failure(NOT_AN_APPLICATION, f"`{target}` {problem}")

    if not callable(app):
        refuse(f"is a `{type(app).__name__}`, not a WSGI or ASGI application: it cannot be called")
    if inspect.isclass(app):
        refuse("is a class: name an instance of it (ASGI 2 applications are not supported)")
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        refuse("has no readable signature, so WSGI and ASGI cannot be told apart")
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is p.empty]
    open_ended = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    is_async = inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(app.__call__)

    if is_async and (len(required) == 3 or open_ended):
        return Interface.ASGI
    if not is_async and not open_ended:
        if len(required) == 3:
            return Interface.ASGI
        if len(required) == 2:
            return Interface.WSGI
        if len(required) == 1:
            refuse("takes one argument like an ASGI 2 application: only ASGI 3 is supported")
    refuse(
        f"takes {len(required)} arguments{' or more' if open_ended else ''}: a WSGI application "
        "takes (environ, start_response), an ASGI application (scope, receive, send)"
    )


# --- Serving

# As many as the seeds' server gives a WSGI application on two cores. More cost latency under
# load, since they contend for one interpreter lock; fewer let slow requests hold up the rest.
WSGI_THREADS = 6

# How long one WSGI thread may keep taking requests while others wait for the interpreter lock.
WSGI_TURN_SECONDS = 0.002

# Connections served at once, and the queue before them. The TLS front is the only client.
CONNECTIONS = 1024


def serve(app: Any, interface: Interface, options: argparse.Namespace) -> None:
    """Runs granian's worker in this very process.

    Its own supervisor would start a second interpreter, which costs a third more memory and
    restarts nothing that the enclave does not watch over already. The entry points used are not
    granian's public API: the image pins the version, and a test serves both interfaces.
    """
    from granian.constants import HTTPModes, Loops, RuntimeModes, TaskImpl
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server.mp import MPServer

    if interface is Interface.WSGI:
        app = with_turns(app, options.scheme)
        worker, threads = MPServer._spawn_wsgi_worker, WSGI_THREADS
    else:
        app = with_scheme(app, options.scheme)
        worker, threads = MPServer._spawn_asgi_lifespan_worker, 1
    listener = listen(options)
    try:
        worker(
            worker_id=1,
            process_name=None,
            callback_loader=lambda: app,
            sock=((None, listener), None),
            ipc=None,
            loop_impl=Loops.auto,
            log_enabled=True,
            log_level=LogLevels.warning,
            log_config=None,
            env_files=(),
            runtime_mode=RuntimeModes.mt,
            runtime_threads=1,
            runtime_blocking_threads=512,
            blocking_threads=threads,
            blocking_threads_idle_timeout=30,
            backpressure=CONNECTIONS,
            task_impl=TaskImpl.asyncio,
            http_mode=HTTPModes.http1,
            http1_settings=HTTP1Settings(),
            http2_settings=None,
            websockets=True,
            static_path=None,
            log_access_fmt=None,
            ssl_ctx=(False, None, None, None, "tls1.3", None, [], False),
            scope_opts={"url_path_prefix": None},
            metrics=(None, None),
        )
    except SystemExit as stop:
        # The only exit of the worker: the application's lifespan refused to start.
        raise Failure(STARTUP_FAILED, f"`{options.app}` failed to start up") from stop
    finally:
        if options.uds is not None:
            options.uds.unlink(missing_ok=True)


def listen(options: argparse.Namespace) -> Any:
    from granian.net import SocketSpec, UnixSocketSpec

    if options.uds is None:
        host, _, port = options.tcp.rpartition(":")
        return SocketSpec(host, int(port), CONNECTIONS).build()
    path: Path = options.uds.absolute()
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    # The TLS front runs as another user. The directory decides who gets to the socket at all.
    return UnixSocketSpec(str(path), CONNECTIONS, 0o666).build()


def with_turns(app: Callable[..., Any], scheme: str) -> Callable[..., Any]:
    """Makes busy threads take turns.

    Between two requests a thread gives up the interpreter lock and mostly gets it back before
    another thread has woken up, so that under load one thread starves the others, for a quarter
    of a second and more. A thread that has had its turn therefore yields.
    """
    turn = Turn()
    now, yield_lock = time.monotonic, time.sleep

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["wsgi.url_scheme"] = scheme
        if now() - turn.began > WSGI_TURN_SECONDS:
            yield_lock(0)
            turn.began = now()
        return app(environ, start_response)

    return call


class Turn(threading.local):
    began = 0.0


def with_scheme(app: Callable[..., Any], scheme: str) -> Callable[..., Any]:
    schemes = {"http": scheme, "websocket": scheme.replace("http", "ws")}

    def call(scope: dict[str, Any], receive: Any, send: Any) -> Any:
        if scope["type"] in schemes:
            scope["scheme"] = schemes[scope["type"]]
        return app(scope, receive, send)

    return call


if __name__ == "__main__":
    main()
