# Changes to the checkout's root and sets variables that a minimal environment (CI, cron, su) may lack.
# Sourced, not run.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"
export PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"
[[ ! -d $HOME/.cargo/bin ]] || export PATH="$HOME/.cargo/bin:$PATH"
