# Source this on a machine without network: it installs the carried wheels (scripts/carry-wheels) into a folder of their
# own, once, and puts that folder and this checkout on PYTHONPATH. Nothing else on the machine changes.
#
#     . scripts/gpu-setup.sh
#
# MOESORT_SITE: the folder, by default build/site in this checkout.
moesort_checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
moesort_site=${MOESORT_SITE:-$moesort_checkout/build/site}

moesort_install_wheels() {
  local wheels=("$moesort_checkout"/.whl/*.whl)
  if [ ! -e "${wheels[0]}" ]; then
    echo "gpu-setup: there are no wheels in $moesort_checkout/.whl; run scripts/carry-wheels where there is a network" >&2
    return 1
  fi
  local installed="$moesort_site/.wheels"
  if [ "$(printf '%s\n' "${wheels[@]}")" = "$(cat "$installed" 2>/dev/null)" ]; then return; fi
  rm -rf "$moesort_site"
  python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$moesort_site" \
    "${wheels[@]}" || return
  printf '%s\n' "${wheels[@]}" >"$installed"
}

moesort_install_wheels && export PYTHONPATH="$moesort_site:$moesort_checkout${PYTHONPATH:+:$PYTHONPATH}"
