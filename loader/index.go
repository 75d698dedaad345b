package loader

import (
	"fmt"
	"strings"
)

const (
	indexName = "model.safetensors.index.json"
	maxIndex  = 64 << 20
	maxShards = 1000

	shardEnding = ".safetensors"
	indexDepth  = 16 // metadata may hold anything
)

// openShards opens the shards of the index file name below root.
func openShards(root, name string) (*Weights, error) {
	path, err := within(root, name)
	if err != nil {
		return nil, err
	}
	data, err := readBounded(path, maxIndex)
	if err != nil {
		return nil, err
	}
	shards, owner, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	paths := make([]string, len(shards))
	for i, shard := range shards {
		if paths[i], err = within(root, join(name, "..", shard)); err != nil {
			return nil, fmt.Errorf("%s: shard %.200q: %w", path, shard, err)
		}
	}
	return openFiles(paths, owner)
}

// parseIndex returns the shards in the order of their first use, and for each
// tensor the shard that it is in.
func parseIndex(data []byte) (shards []string, owner map[string]int, err error) {
	p, err := sharedJSON(data, indexDepth)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadHeader, err)
	}
	numbers := make(map[string]int)
	err = p.object(func(key string) error {
		if key != "weight_map" {
			_, err := p.skip()
			return err
		}
		owner = make(map[string]int, strings.Count(p.data, shardEnding))
		return p.members(func(tensor string) error {
			if _, twice := owner[tensor]; twice {
				return p.errorf("duplicate key %.200q", tensor)
			}
			shard, err := p.str()
			if err != nil {
				return err
			}
			n, known := numbers[shard]
			if !known {
				if err := checkShard(shard); err != nil {
					return err
				}
				if len(shards) == maxShards {
					return fmt.Errorf("more than %d shards", maxShards)
				}
				n = len(shards)
				numbers[shard] = n
				shards = append(shards, shard)
			}
			owner[tensor] = n
			return nil
		})
	})
	if err == nil {
		err = p.end()
	}
	if err == nil && len(owner) == 0 {
		err = fmt.Errorf("want a weight_map with tensors, got none")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadHeader, err)
	}
	return shards, owner, nil
}

func checkShard(shard string) error {
	clean, err := cleanRelative(shard)
	if err != nil {
		return err
	}
	if clean != shard || !strings.HasSuffix(shard, shardEnding) {
		return fmt.Errorf("want the name of a .safetensors file, got %.200q", shard)
	}
	return nil
}
