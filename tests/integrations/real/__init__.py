"""The integrations on the real code of AITER, vLLM and SGLang, on a machine without a GPU.

AITER_REPO names a checkout of AITER; MOESORT_TEST_FRAMEWORKS names what scripts/fetch_frameworks.py unpacked.
"""
