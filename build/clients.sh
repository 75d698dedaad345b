#!/bin/sh
# The official clients, unchanged, against vkbert serve on the loopback: openai (Python and JavaScript), ollama and huggingface_hub.
# They are installed into a private environment, once (150 MB).
. "$(dirname "$0")/common.sh"
build/setup.sh clients

python_packages='openai==3.57.0 ollama==0.6.3 huggingface_hub==2.4.0 numpy>=2,<3'
node_package=openai@6.49.0 # 7 asks for Node.js 22

dir=$root/$cache/clients
made="$python_packages $node_package $(python3 --version)"
if [ "$(cat "$dir/made" 2>/dev/null)" != "$made" ]; then
	say "installing $python_packages $node_package"
	rm -rf "$dir"
	python3 -m venv "$dir/python"
	"$dir/python/bin/python" -m pip install --quiet --disable-pip-version-check $python_packages
	mkdir "$dir/npm"
	npm install --prefix "$dir/npm" --no-save --no-package-lock --no-audit --no-fund --loglevel=error $node_package
	echo "$made" >"$dir/made"
fi

export VKBERT="$root/$out/vkbert" VKBERT_NPM="$dir/npm" VKBERT_KEY=a-key VKBERT_CACHE=off
export VKBERT_TINY="$root/testdata/tiny/normalize" VKBERT_CLASSES="$root/testdata/arch/cross_roberta"
run=$(mktemp -d)
pids=
finish() {
	status=$?
	trap - EXIT INT TERM
	for pid in $pids; do kill "$pid" 2>/dev/null || :; done
	for pid in $pids; do wait "$pid" || { echo "a server ended with $?" >&2 && status=1; }; done
	[ $status = 0 ] || tail -n 20 "$run"/*.log >&2
	rm -rf "$run"
	exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# serve NAME ARGUMENT…: starts a server on a free port and sets address to what it prints when it is ready.
serve() {
	name=$1
	shift
	$VKBERT serve --device cpu --addr 127.0.0.1:0 "$@" >"$run/$name.address" 2>"$run/$name.log" &
	pid=$!
	pids="$pids $pid"
	tries=0
	until grep -qs '^http' "$run/$name.address"; do
		tries=$((tries + 1))
		kill -0 $pid 2>/dev/null && [ $tries -lt 600 ] || fail "the server $name did not start"
		sleep 0.1
	done
	address=$(cat "$run/$name.address")
}

echo $VKBERT_KEY >"$run/keys"
serve open -m "$VKBERT_TINY=tiny" -m "$VKBERT_CLASSES=classes" -m "$root/testdata/arch/cross_bert=rerank" --cors-origin https://app.example
export VKBERT_URL="$address"
serve limited -m "$VKBERT_TINY=tiny" --api-key-file "$run/keys" --max-concurrent 1 --max-inputs 4 --max-body-bytes 4096
export VKBERT_LIMITED_URL="$address"

# Nothing is asked of another host, nor sent through a proxy.
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_OFFLINE=0 HF_HOME="$run/hf" PYTHONDONTWRITEBYTECODE=1
say 'the Python clients'
"$dir/python/bin/python" -W error::ResourceWarning -m unittest discover -s server/clients -v
say 'the JavaScript client'
node --test --test-reporter=spec server/clients/openai.test.mjs
