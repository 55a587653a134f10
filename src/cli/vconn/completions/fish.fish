# Completion of kubectl-vconn for fish: kubectl-vconn completion fish | source
function __kubectl_vconn_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (kubectl-vconn __complete $words[2..-1] "$current" 2>/dev/null)
    set -l directive $lines[-1]
    set -e lines[-1]
    set -l flag (string match -r -- '^-[^=]*=' "$current")
    for line in $lines
        echo "$flag$line"
    end
    if test "$directive" = :0
        __fish_complete_path "$current"
    end
end
complete -c kubectl-vconn -e
complete -c kubectl-vconn -k -f -a '(__kubectl_vconn_complete)'
