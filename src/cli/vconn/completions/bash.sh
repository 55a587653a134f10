# Completion of kubectl-vconn for bash 4.1 or newer: source <(kubectl-vconn completion bash)
_kubectl_vconn() {
  local word line directive glued=
  local -a words=()
  # Bash makes three words of --output=json.
  for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ $word == "=" && ${#words[@]} -gt 0 ]]; then
      words[-1]+="="
      glued=1
    elif [[ -n $glued ]]; then
      words[-1]+=$word
      glued=
    else
      words+=("$word")
    fi
  done
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :[0-9]*) directive=$line ;;
      *) COMPREPLY+=("$line") ;;
    esac
  done < <(kubectl-vconn __complete "${words[@]}" 2>/dev/null)
  if [[ $directive == :0 ]]; then compopt -o default 2>/dev/null; fi
  return 0
}
complete -F _kubectl_vconn kubectl-vconn
