# Bash completion of cloister: verbs, options, configuration files and the names of domains.

_cloister_domains() {
  cloister ${1:+--run "$1"} list --json 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",\{0,1\}$/\1/p'
}

# _cloister_cpu CURRENT WORD...: the words between "cpu" and the current one.
_cloister_cpu() {
  local current=$1 verb=${2-} last=${!#} options='--help --json'
  if (($# == 1)); then
    mapfile -t COMPREPLY < <(compgen -W 'probe explain check baseline map render lint --help' -- "$current")
  elif [[ $last == --for ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'libvirt qemu nova xl cloister' -- "$current")
  elif [[ $current == -* ]]; then
    case $verb in
      map) options+=' --libvirt' ;;
      render) options='--help --for --lossy' ;;
      lint) options+=' --host' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif [[ $verb != explain ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}

_cloister() {
  local current=${COMP_WORDS[COMP_CWORD]} verb='' run='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --run) run=${COMP_WORDS[++i]} ;;
      -*) ;;
      *)
        verb=${COMP_WORDS[i]}
        break
        ;;
    esac
  done
  if [[ ${COMP_WORDS[COMP_CWORD - 1]} == --run && -z $verb ]]; then
    mapfile -t COMPREPLY < <(compgen -d -- "$current")
    return
  fi
  local verbs='run create list info console dmesg pause unpause shutdown reboot destroy rename sgx-info sgx-list top host dashboard cpu'
  if [[ -z $verb ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$verbs --run --help --version" -- "$current")
    return
  fi
  if [[ $verb == cpu ]]; then
    _cloister_cpu "$current" "${COMP_WORDS[@]:i+1:COMP_CWORD-i-1}"
    return
  fi
  if [[ $current == -* ]]; then
    local options='--help'
    case $verb in
      run) options+=' --backend --machine --dryrun --json --timeout --gdb --trace --trace-file --deterministic --stats' ;;
      create) options+=' --json --paused --console' ;;
      info) options+=' --json --policy' ;;
      shutdown) options+=' --json --wait' ;;
      top) options+=' --delay --iterations' ;;
      dashboard) options+=' --port' ;;
      console) ;;
      *) options+=' --json' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    return
  fi
  case $verb in
    run | create) mapfile -t COMPREPLY < <(compgen -f -X '!*.cfg' -- "$current"; compgen -d -- "$current") ;;
    info | console | dmesg | pause | unpause | shutdown | reboot | destroy | rename)
      mapfile -t COMPREPLY < <(compgen -W "$(_cloister_domains "$run")" -- "$current")
      ;;
  esac
}

complete -o filenames -F _cloister cloister
