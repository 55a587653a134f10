#compdef kubectl-vconn
# Completion of kubectl-vconn for zsh: source <(kubectl-vconn completion zsh), or a file _kubectl-vconn in a folder of fpath.
_kubectl_vconn() {
  local -a lines
  lines=("${(@f)$(kubectl-vconn __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  local directive=$lines[-1]
  if [[ $PREFIX == -*=* ]]; then compset -P '*='; fi
  compadd -V candidates -- "${(@)lines[1,-2]}"
  if [[ $directive == ":0" ]]; then _files; fi
}
if [[ $funcstack[1] == _kubectl-vconn ]]; then
  _kubectl_vconn "$@"
else
  compdef _kubectl_vconn kubectl-vconn
fi
