"""vLLM's plugin, the entry point `moesort_tune` of the group `vllm.general_plugins`."""

from moesort_tune.integrations import plugin


def register() -> None:
    """Steer AITER in this process; vLLM calls this in each of its processes. See docs/serving.md."""
    plugin.register("vllm")
