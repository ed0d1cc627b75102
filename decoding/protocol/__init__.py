"""The boundary between a front end and the engine: what is said over HTTP, and how to find the other side.

Standard library only, because this is the one module of `decoding` that `lsp_server` may import.
It knows no tensor, no tokenizer, no socket: values, their JSON form, and the names of files and headers.

The engine speaks the OpenAI completions protocol; what that protocol lacks travels in one optional
object named `tabcast` (see `CompletionOptions` for the request and `CompletionStats` for the answer).
"""

from decoding.protocol.address import (
    Address,
    engine_directory,
    is_proven,
    is_token,
    prove,
    runtime_base,
    user_config_path,
)
from decoding.protocol.answers import (
    CompletionStats,
    Confidence,
    DrafterStats,
    Health,
    ScoredToken,
    confidence_from_json,
    confidence_to_json,
    logprobs_to_json,
)
from decoding.protocol.constants import (
    ADDRESS_FILE,
    ENGINE_LOCK_FILE,
    EXIT_ALREADY_RUNNING,
    EXIT_MODEL,
    EXIT_PORT_IN_USE,
    EXIT_USAGE,
    LINE_MODES,
    LOG_FILE,
    MAX_CHOICES,
    MAX_LOGPROBS,
    MAX_NEW_TOKENS,
    MAX_REQUEST_BYTES,
    PRIORITIES,
    PROTOCOL_VERSION,
    START_LOCK_FILE,
    VERSION,
    LineMode,
    Priority,
    Status,
)
from decoding.protocol.fields import ProtocolError
from decoding.protocol.messages import CompletionOptions, CompletionRequest, ContextFile
from decoding.protocol.methods import AUTO, COMBINE, DRAFTERS, METHODS, PLAIN, Method, check_method, drafter_names
from decoding.protocol.model_names import (
    BUNDLED_NAMES,
    CATALOGUE_FILES,
    NO_MODEL,
    PROGRAMS,
    is_hub_name,
    is_listed_name,
    is_model_name,
)
from decoding.protocol.private_files import folder_trouble, make_private, read_private, write_private

__all__ = [
    "ADDRESS_FILE",
    "AUTO",
    "BUNDLED_NAMES",
    "CATALOGUE_FILES",
    "COMBINE",
    "DRAFTERS",
    "ENGINE_LOCK_FILE",
    "EXIT_ALREADY_RUNNING",
    "EXIT_MODEL",
    "EXIT_PORT_IN_USE",
    "EXIT_USAGE",
    "LINE_MODES",
    "LOG_FILE",
    "MAX_CHOICES",
    "MAX_LOGPROBS",
    "MAX_NEW_TOKENS",
    "MAX_REQUEST_BYTES",
    "METHODS",
    "NO_MODEL",
    "PLAIN",
    "PRIORITIES",
    "PROGRAMS",
    "PROTOCOL_VERSION",
    "START_LOCK_FILE",
    "VERSION",
    "Address",
    "CompletionOptions",
    "CompletionRequest",
    "CompletionStats",
    "Confidence",
    "ContextFile",
    "DrafterStats",
    "Health",
    "LineMode",
    "Method",
    "Priority",
    "ProtocolError",
    "ScoredToken",
    "Status",
    "check_method",
    "confidence_from_json",
    "confidence_to_json",
    "drafter_names",
    "engine_directory",
    "folder_trouble",
    "is_hub_name",
    "is_listed_name",
    "is_model_name",
    "is_proven",
    "is_token",
    "logprobs_to_json",
    "make_private",
    "prove",
    "read_private",
    "runtime_base",
    "user_config_path",
    "write_private",
]
