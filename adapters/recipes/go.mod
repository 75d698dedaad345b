// The recipes of docs/recipes.md, compiled and where that is possible run. Nothing here is for import.
module github.com/vkbert/vkbert/adapters/recipes

go 1.24.4

require (
	github.com/asg017/sqlite-vec-go-bindings v0.1.6
	github.com/jackc/pgx/v5 v5.7.6
	github.com/ncruces/go-sqlite3 v0.20.3
	github.com/pgvector/pgvector-go v0.3.0
	github.com/qdrant/go-client v1.17.1
	github.com/stretchr/testify v1.11.1
	github.com/tetratelabs/wazero v1.8.2
	github.com/vkbert/vkbert v0.1.0
)

require (
	github.com/daulet/tokenizers v1.24.0 // indirect
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/kr/text v0.2.0 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	github.com/pmezard/go-difflib v1.0.0 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/crypto v0.48.0 // indirect
	golang.org/x/net v0.50.0 // indirect
	golang.org/x/sys v0.41.0 // indirect
	golang.org/x/text v0.34.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260209200024-4cfbd4190f57 // indirect
	google.golang.org/grpc v1.78.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)

replace github.com/vkbert/vkbert => ../..
