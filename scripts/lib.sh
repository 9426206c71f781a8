# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

# Print the comment at the top of the script that runs: its help text.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# find_python: print the name of a Python that is new enough.
find_python() {
    local names=(python3 python3.14 python3.13 python3.12 python3.11) name
    for name in "${names[@]}"; do
        # Running it is the only proof: a name on PATH can be a shim with no interpreter behind it.
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$name"
            return
        fi
    done
    die "Python 3.11 or newer is needed; none of these on PATH is one: ${names[*]}"
}

# install_debian PACKAGE...: by apt, as root; anywhere else say what is missing.
install_debian() {
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        die "missing; please install these Debian packages, or run this as root where apt is: $*"
    fi
    say "installing Debian packages: $*"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" >&2
}

# from_go NAME MODULE@VERSION: install a program into .cache/go, unless it is there; without Go, do nothing.
from_go() {
    [[ ! -x $ROOT/.cache/go/$1 ]] && command -v go >/dev/null || return 0
    say "installing $1"
    GOBIN="$ROOT/.cache/go" go install -ldflags "-s -w" "$2" >&2
}
