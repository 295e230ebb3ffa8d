# What the scripts share: where things are, how a step is shown and how it fails, and how packages get in.
# Progress goes to stderr, so that a guest's console is all that stdout has.
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${CLOISTER_BUILD:-$root/build}
logs=$build/logs
mkdir -p "$logs"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

say() { printf '== %s\n' "$*" >&2; }
note() { printf '   %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# step NAME TITLE COMMAND...: runs the command with its output in build/logs/NAME.log, and shows the title and the time
# it took. When it fails: the end of the log, where the rest is, and out.
step() {
  local name=$1 title=$2 log=$logs/$1.log start=$SECONDS status=0
  shift 2
  say "$title"
  # `command || status=$?` would switch errexit off inside a function that is a step.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null
  status=$?
  set -e
  if [ "$status" -ne 0 ]; then
    tail -n 60 "$log" >&2
    die "$title: failed with status $status after $((SECONDS - start)) s; command: $*; whole log: $log"
  fi
  note "$((SECONDS - start)) s"
}

# Root's rights, asked for only to install packages and to refresh apt's lists.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo --preserve-env=DEBIAN_FRONTEND "$@"
  else
    die "packages must be installed, which needs root or sudo: $*"
  fi
}

missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

known_to_apt() { [ -n "$(apt-cache show --no-all-versions "$1" 2>/dev/null)" ]; }

# Refreshes apt's lists at most once a day. A mirror that cannot be reached is no failure as long as the lists at hand
# know the packages that are wanted.
refresh_apt() {
  local stamp=$build/.apt-refreshed package
  [ -z "$(find "$stamp" -mtime -1 2>/dev/null)" ] || return 0
  say "Refresh apt's package lists"
  if as_root apt-get update -q >"$logs/apt-update.log" 2>&1 </dev/null; then
    touch "$stamp"
    return 0
  fi
  for package in "$@"; do
    known_to_apt "$package" || die "apt-get update failed and '$package' is not known; log: $logs/apt-update.log"
  done
  note "some lists could not be refreshed ($logs/apt-update.log); going on with those at hand"
}

# install_packages PACKAGE...: installs those that are missing, and asks for nothing when none is.
install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  refresh_apt "${missing[@]}"
  step apt-install "Install ${missing[*]}" as_root apt-get install -yq --no-install-recommends "${missing[@]}"
}

# configure PRESET [DEFINITION...]: with ccache if it is there.
configure() {
  local preset=$1 launcher=()
  shift
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
  fi
  step "configure-$preset" "Configure $preset" cmake -S "$root" -B "$build/$preset" --preset "$preset" "${launcher[@]}" "$@"
}

# compile PRESET TARGET...: everything if no target is named.
compile() {
  local preset=$1
  shift
  step "build-$preset" "Build $preset${*:+: $*}" ninja -C "$build/$preset" -j "$(nproc)" "$@"
}
