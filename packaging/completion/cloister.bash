# Bash completion of cloister. Verbs, options and what follows them are what the program's --help lists; names of domains
# and of keys are the daemon's.

# _cloister_read_help WORD...: into the caller's subcommands, positionals and options, and into value_of the kind of
# value of each option that takes one.
_cloister_read_help() {
  local line names name rest section=''
  subcommands=() positionals=() options=() value_of=()
  while IFS= read -r line; do
    case $line in
      Positionals: | Options: | Subcommands:) section=$line ;;
      '  -'*)
        names=${line#  } names=${names%% *} rest=${line#  "$names"}
        options+=("${names##*,}")
        [[ $rest == ' '[!\ ]* && $rest != ' Needs:'* ]] || continue
        for name in ${names//,/ }; do value_of[$name]=${rest# }; done
        ;;
      '  '[!\ ]*)
        [[ $section == Positionals: ]] && positionals+=("${line#  }")
        [[ $section == Subcommands: ]] && line=${line#  } && subcommands+=("${line%% *}")
        ;;
    esac
  done < <(cloister "$@" --help 2>/dev/null)
}

_cloister_domains() {
  cloister ${1:+--run "$1"} list --all --json 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",\{0,1\}$/\1/p'
}

_cloister_keys() {
  cloister ${1:+--run "$1"} keys --json 2>/dev/null | sed -n 's/^ *"key": "\(.*\)",\{0,1\}$/\1/p'
}

# _cloister_value KIND VERB RUN CURRENT: the values of a kind, which is what --help says of an option or a positional.
_cloister_value() {
  local members
  case $1 in
    *:'{'*'}'*)
      members=${1#*:"{"}
      members=${members%%"}"*}
      compgen -W "${members//,/ }" -- "$4"
      ;;
    KEY*) compgen -W "$(_cloister_keys "$3")" -- "$4" ;;
    DOMAIN*) compgen -W "$(_cloister_domains "$3")" -- "$4" ;;
    'FILE TEXT'*)
      if [[ $2 == cpu ]]; then
        compgen -f -- "$4"
      else
        compgen -f -X '!*.cfg' -- "$4"
        compgen -d -- "$4"
      fi
      ;;
    FOLDER*) compgen -d -- "$4" ;;
    FILE* | HOST* | PATH* | POLICY* | SOCKET*) compgen -f -- "$4" ;;
  esac
}

_cloister() {
  local current=${COMP_WORDS[COMP_CWORD]} word kind='' run='' place=0 i
  local -a verbs=() subcommands positionals options
  local -A value_of
  _cloister_read_help
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]} kind=''
    if [[ $word == -* ]]; then
      kind=${value_of[$word]-}
      [[ -n $kind ]] || continue
      [[ $word == --run ]] && run=${COMP_WORDS[i + 1]}
      ((++i))
    elif ((${#subcommands[@]})); then
      [[ " ${subcommands[*]} " == *" $word "* ]] || return 0
      verbs+=("$word")
      _cloister_read_help "${verbs[@]}"
    else
      ((++place))
    fi
  done
  # An option whose value is still to come has taken the current word.
  if ((i == COMP_CWORD)); then
    if [[ $current == -* ]]; then
      mapfile -t COMPREPLY < <(compgen -W "${options[*]}" -- "$current")
      return
    elif ((${#subcommands[@]})); then
      mapfile -t COMPREPLY < <(compgen -W "${subcommands[*]} ${options[*]}" -- "$current")
      return
    fi
    # What may be given more than once is a verb's last.
    kind=${positionals[place]-}
    [[ -z $kind && ${positionals[*]: -1} == *' ... '* ]] && kind=${positionals[*]: -1}
  fi
  mapfile -t COMPREPLY < <(_cloister_value "$kind" "${verbs[0]-}" "$run" "$current")
}

complete -o filenames -F _cloister cloister
