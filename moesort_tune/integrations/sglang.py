"""SGLang's plugin, the entry point `moesort_tune` of the group `sglang.srt.plugins`."""

from moesort_tune.integrations import plugin


def register() -> None:
    """Steer AITER in this process; SGLang calls this in each of its processes. See docs/serving.md."""
    plugin.register("sglang")
