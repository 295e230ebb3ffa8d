# Bash completion of cloister: verbs, options, configuration files and the names of domains.

_cloister_domains() {
  cloister ${1:+--run "$1"} list --json 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",\{0,1\}$/\1/p'
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
  local verbs='run create list info console dmesg pause unpause shutdown reboot destroy rename sgx-info sgx-list top host dashboard'
  if [[ -z $verb ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$verbs --run --help" -- "$current")
    return
  fi
  if [[ $current == -* ]]; then
    local options='--help'
    case $verb in
      run) options+=' --dryrun --json --timeout --gdb --trace --trace-file --deterministic --stats' ;;
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
