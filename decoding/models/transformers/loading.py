"""Reads a model folder with transformers, once its weights are what its config.json describes.

Code from a model's folder never runs, and nothing is fetched.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from decoding.errors import ModelError
from decoding.models.folder.json_files import shown
from decoding.models.folder.model_config import CONFIG_FILE
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.transformers.failures import in_words
from decoding.models.transformers.model import GenericModel
from decoding.models.weights.tensors import Tensors, is_finite
from decoding.models.weights.weight_schema import FLOATS

log = logging.getLogger(__name__)

# chosen: if a model describes so many times the parameters in its files, or so many more, each one is counted.
MAX_LACKING: Final = 1.5
LITTLE: Final = 10_000_000
NOT_OF_TRANSFORMERS: Final = ("model_type", "tabcast", "_name_or_path")


def load_generic(
    folder: ModelFolder, *, vocabulary: int, max_len: int, device: torch.device, dtype: torch.dtype
) -> GenericModel:
    """Read a model folder or a GGUF file for transformers; nothing is fetched, and no code beside the weights is run.

    Raises:
        ModelError: transformers doesn't know the architecture, or weights are missing, misshapen or not safetensors.
    """
    path, config = folder.path, folder.config
    if config.get("model_type") not in CONFIG_MAPPING:
        code = ", and code that lies beside the weights is never run" if "auto_map" in config else ""
        raise ModelError(f"{path}: transformers knows no model_type {shown(config.get('model_type'))}{code}")
    if not folder.is_file:
        _check_weights(folder)
    transformers_logging.disable_progress_bar()  # the engine shows its own
    try:
        loaded: Any = _of_file(folder, dtype) if folder.is_file else _of_folder(folder, dtype)
    except ModelError:
        raise
    except Exception as error:  # each architecture raises its own kinds of errors
        raise ModelError(f"{path} can't be read by transformers: {in_words(error)}") from None
    model, found = loaded
    # transformers fills missing weights with random numbers and only warns: such a model would compute nonsense.
    misshapen = [entry if isinstance(entry, str) else entry[0] for entry in found["mismatched_keys"]]
    if lacking := sorted(map(str, [*found["missing_keys"], *misshapen])):
        others = f" (and {len(lacking) - 1} more)" if lacking[1:] else ""
        raise ModelError(f"{path} is not a complete model folder: tensor {lacking[0]}{others} is missing or misshapen")
    for name, parameter in model.named_parameters():
        if not is_finite(parameter.detach()):
            raise ModelError(f"{path}: tensor {name} holds numbers that are not finite, so the weights are damaged")
    if device.type == "cpu" and not folder.is_file:  # elsewhere they are copied anyway
        _unmap(model)
    try:
        return GenericModel(model.to(device), vocabulary=vocabulary, max_len=max_len)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _of_folder(folder: ModelFolder, dtype: torch.dtype) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder.path,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are then listed, and refused by the caller
    )


def _of_file(folder: ModelFolder, dtype: torch.dtype) -> Any:
    """Read a GGUF file's tensors with our own reader, so that none is missing, left over or of another shape."""
    told = {key: value for key, value in folder.config.items() if key not in NOT_OF_TRANSFORMERS}
    # The defaults are ids of one published vocabulary.
    told |= {"pad_token_id": None, "bos_token_id": None}
    config: Any = CONFIG_MAPPING[folder.config["model_type"]](**told)
    with torch.device("meta"):
        bare = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    schema = {name: tuple(parameter.shape) for name, parameter in bare.named_parameters()}
    tensors = Tensors(folder.path, folder.entries, schema, torch.device("cpu"), dtype)
    return type(bare).from_pretrained(
        None,
        config=config,
        state_dict={name: tensors.take(name) for name in tensors.names},
        dtype=dtype,
        output_loading_info=True,
    )


def _unmap(model: Any) -> None:
    """Copy what transformers maps: touching the map of a file that was cut meanwhile would end the process."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def _check_weights(folder: ModelFolder) -> None:
    """Raise `ModelError` where weights are no floats, or config.json describes far more than the files hold.

    transformers would fill missing weights with random numbers before it reports them, even beyond the memory.
    """
    if folder.config.get("quantization_config"):
        return
    for name, entry in folder.entries.items():
        if name.endswith(".weight") and entry.dtype not in FLOATS:
            raise ModelError(f"{entry.file}: tensor {name} is stored as {entry.dtype}, and weights must be floats")
    try:
        with torch.device("meta"):
            declared = AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
            model = AutoModelForCausalLM.from_config(declared, trust_remote_code=False)
        num_declared = sum(parameter.numel() for parameter in model.parameters())
    except Exception as error:  # a model that can't be built without memory is only checked when it is read
        log.info("%s: its parameters were not counted: %s", folder.path.name, error)
        return
    if num_declared > MAX_LACKING * folder.num_parameters + LITTLE:
        raise ModelError(
            f"{folder.path / CONFIG_FILE} describes a model of {num_declared:,} parameters,"
            f" and the folder's files hold {folder.num_parameters:,}"
        )
