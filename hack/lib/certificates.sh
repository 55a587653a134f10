# shellcheck shell=bash
# Throw-away certificates for servers on the loopback interface. Sourced by hack/bed.

EC_KEY=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

# serving_certificate FOLDER NAME [SAN...]: makes FOLDER/ca.pem and, signed by it, FOLDER/tls.pem and FOLDER/tls.key for
# 127.0.0.1, localhost and each SAN. Keeps what is there, so that a restarted server is still trusted.
serving_certificate() {
  local folder=$1 name=$2 names
  names=$(printf ', %s' "${@:3}")
  (($# > 2)) || names=''
  [[ ! -e $folder/tls.pem ]] || return 0
  mkdir -p "$folder"
  openssl req -x509 -new "${EC_KEY[@]}" -days 365 -subj "/CN=$name test CA" \
    -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$folder/ca.key" -out "$folder/ca.pem" 2>/dev/null
  openssl req -new "${EC_KEY[@]}" -subj "/CN=$name" -keyout "$folder/tls.key" -out "$folder/tls.csr" 2>/dev/null
  openssl x509 -req -in "$folder/tls.csr" -days 365 -CA "$folder/ca.pem" -CAkey "$folder/ca.key" \
    -set_serial "0x$(random_hex 8)" -out "$folder/tls.new" -extfile - 2>/dev/null <<EXTENSIONS
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost$names
EXTENSIONS
  mv "$folder/tls.new" "$folder/tls.pem"
}
