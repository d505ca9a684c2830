"""mlx-lm's server with the variant in the model that it serves, which is listed under its names and answers to each."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from zmlx_bench.checkpoints import hub
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import ZmlxError
from zmlx_bench.use.failures import in_one_line


@contextmanager
def serving(
    module: Any,
    located: Located,
    names: Sequence[str],
    patch: Callable[[Any], None],
    ended: Callable[[Exception], None],
) -> Iterator[None]:
    """Let `mlx_lm.server` patch the checkpoint of `located`, loaded alone or sharded, and call it by `names`.

    Other models that a client asks for stay stock; one that is not here is refused, and the served one stays. The
    server's generating thread is ended however the server ends: a taken port would leave it, and the process. Where
    that thread ends by an exception, `ended` is told it, in the thread, and what it does must end the server: nothing
    would be generated any more.
    """
    stock = module.ModelProvider, module.ResponseGenerator, module.APIHandler.handle_models_request, module.run
    made: list[Any] = []

    class Provider(module.ModelProvider):  # type: ignore[misc]
        def __init__(self, cli_args: Any) -> None:
            super().__init__(cli_args)
            for name in names:
                self._model_map[name] = cli_args.model
                self._adapter_map[name] = cli_args.adapter_path

        def load(self, model_path: str, adapter_path: Any = None, draft_model_path: str | None = None) -> Any:
            # mlx-lm lets the served model go before it looks for another, which may not be there.
            if model_path not in self._model_map and not _is_here(model_path):
                known = ", ".join(names)
                raise ValueError(f"no model {model_path!r} here; there is {known}, and what the hub cache holds")
            if draft_model_path not in (None, *self._draft_model_map) and not _is_here(draft_model_path):
                raise ValueError(f"no draft model {draft_model_path!r} here; there is what the hub cache holds")
            return super().load(model_path, adapter_path, draft_model_path)

        def _load(self, model_path: str, *args: Any, **kwargs: Any) -> None:
            super()._load(model_path, *args, **kwargs)
            if _same_folder(model_path, located.path):
                try:
                    patch(self.model)
                except BaseException:
                    self.reset()
                    raise

    class Generator(module.ResponseGenerator):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

        def _generate(self) -> None:
            try:
                super()._generate()
            except Exception as error:  # noqa: BLE001 - mlx-lm would log a traceback and answer no request
                self._generation_failed = True
                # One that is being stopped may lose the processes that it shares the model with.
                if not self._stop:
                    ended(error)

        def _run_generate(self) -> None:
            try:
                super()._run_generate()
            finally:
                # MLX 0.32.4 aborts a process that ends soon after a thread whose streams are left to it.
                module.mx.clear_streams()

    module.ModelProvider, module.ResponseGenerator = Provider, Generator
    module.run = partial(stock[3], server_class=Connections)
    # The server names its handler when the module is read, so that the method itself is exchanged.
    module.APIHandler.handle_models_request = _models(names)
    try:
        yield
    finally:
        module.ModelProvider, module.ResponseGenerator, module.APIHandler.handle_models_request, module.run = stock
        for generator in made:
            generator.stop_and_join()


class Connections(ThreadingHTTPServer):
    """Says in one line that a request ended by an exception, as a client that went away makes it end."""

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """Log what is being handled; the server goes on."""
        error = sys.exception()
        if isinstance(error, ConnectionError):
            logging.info("%s went away: %s", client_address[0], error.strerror or error)
        elif isinstance(error, Exception):
            logging.error("a request from %s: %s", client_address[0], in_one_line("server", error))


def _is_here(model: Any) -> bool:
    """Whether mlx-lm finds the model without asking the hub: a checkpoint's folder, or a repository in the cache."""
    try:
        return (Path(model) / "config.json").is_file() or hub.cached(model) is not None
    except (OSError, TypeError, ValueError, ZmlxError):
        return False


def _same_folder(model_path: str, folder: Path) -> bool:
    return Path(model_path).resolve() == folder.resolve()


def _models(names: Sequence[str]) -> Callable[[Any], None]:
    """Return the answer to GET /v1/models[/NAME]; mlx-lm's own needs a hub cache and lists what lies there."""

    def handle(self: Any) -> None:
        models = [{"id": name, "object": "model", "created": self.created, "owned_by": "zmlx"} for name in names]
        wanted = unquote(self.path.partition("?")[0]).partition("/v1/models/")[2]
        found = next((model for model in models if model["id"] == wanted), None)
        if wanted and found is None:
            status, answer = 404, {"error": {"message": f"no model {wanted!r}; there is {', '.join(names)}"}}
        else:
            status, answer = 200, found or {"object": "list", "data": models}
        self._set_completion_headers(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())
        self.wfile.flush()

    return handle
