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

_cloister_tickets() {
  cloister ${1:+--run "$1"} tickets --json 2>/dev/null | sed -n 's/^ *"ticket": "\(.*\)",\{0,1\}$/\1/p'
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
    TICKET*) compgen -W "$(_cloister_tickets "$3")" -- "$4" ;;
    KEY*) compgen -W "$(_cloister_keys "$3")" -- "$4" ;;
    DOMAIN*) compgen -W "$(_cloister_domains "$3")" -- "$4" ;;
    'FILE TEXT'*)
      if [[ $2 == cpu || $2 == save || $2 == snapshot || $2 == restore ]]; then
        compgen -f -- "$4"
      else
        compgen -f -X '!*.cfg' -- "$4"
        compgen -d -- "$4"
      fi
      ;;
    FOLDER*) compgen -d -- "$4" ;;
    FILE* | HOST* | IMAGE* | PATH* | POLICY* | SOCKET*) compgen -f -- "$4" ;;
  esac
}

# _cloister_reply KIND VERB RUN CURRENT: the values as the shell wants them, which puts them behind the last : or = of
# what it has, and writes those of file names with backslashes where it would split them.
_cloister_reply() {
  local before=${4%"${4##*[:=]}"} i
  mapfile -t COMPREPLY < <(_cloister_value "$@")
  [[ $1 == KEY* || $1 == DOMAIN* ]] || compopt -o filenames 2>/dev/null
  for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]#"$before"}; done
}

# Into the caller's words, what the shell has split at : and = put together again, up to the current word.
_cloister_words() {
  local line=$COMP_LINE i
  words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    if ((i)) && [[ $line != [[:space:]]* && -n $line ]]; then
      words[-1]+=${COMP_WORDS[i]}
    else
      words+=("${COMP_WORDS[i]}")
    fi
    line=${line#"${line%%[![:space:]]*}"}
    line=${line#"${COMP_WORDS[i]}"}
  done
}

_cloister() {
  local current word kind='' run='' place=0 i
  local -a words verbs=() subcommands positionals options
  local -A value_of
  _cloister_words
  current=${words[-1]}
  _cloister_read_help
  for ((i = 1; i < ${#words[@]} - 1; i++)); do
    word=${words[i]} kind=''
    if [[ $word == --run=* ]]; then
      run=${word#*=}
    elif [[ $word == --*=* ]]; then
      continue
    elif [[ $word == -* ]]; then
      kind=${value_of[$word]-}
      [[ -n $kind ]] || continue
      [[ $word == --run ]] && run=${words[i + 1]}
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
  if ((i == ${#words[@]} - 1)); then
    if [[ $current == --*=* ]]; then
      _cloister_reply "${value_of[${current%%=*}]-}" "${verbs[0]-}" "$run" "${current#*=}"
      return
    elif [[ $current == -* ]]; then
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
  _cloister_reply "$kind" "${verbs[0]-}" "$run" "$current"
}

complete -F _cloister cloister
