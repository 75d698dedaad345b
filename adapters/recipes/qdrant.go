package recipes

import (
	"context"

	"github.com/qdrant/go-client/qdrant"

	"github.com/vkbert/vkbert"
)

// AddToQdrant makes a collection for the model's vectors and adds texts.
func AddToQdrant(ctx context.Context, client *qdrant.Client, m *vkbert.Model, collection string, texts []string) error {
	err := client.CreateCollection(ctx, &qdrant.CreateCollection{
		CollectionName: collection,
		VectorsConfig:  qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: uint64(m.Dimensions()), Distance: qdrant.Distance_Cosine}),
	})
	if err != nil {
		return err
	}
	vectors, err := m.EmbedDocuments(ctx, texts)
	if err != nil {
		return err
	}
	points := make([]*qdrant.PointStruct, len(texts))
	for i, text := range texts {
		points[i] = &qdrant.PointStruct{
			Id:      qdrant.NewIDNum(uint64(i)),
			Vectors: qdrant.NewVectors(vectors[i]...),
			Payload: qdrant.NewValueMap(map[string]any{"text": text}),
		}
	}
	_, err = client.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: collection, Points: points, Wait: qdrant.PtrOf(true)})
	return err
}

// SearchQdrant returns the texts nearest to a query.
func SearchQdrant(ctx context.Context, client *qdrant.Client, m *vkbert.Model, collection, query string, limit uint64) ([]string, error) {
	v, err := m.EmbedQuery(ctx, query)
	if err != nil {
		return nil, err
	}
	points, err := client.Query(ctx, &qdrant.QueryPoints{
		CollectionName: collection, Query: qdrant.NewQuery(v...), Limit: &limit, WithPayload: qdrant.NewWithPayload(true),
	})
	var texts []string
	for _, p := range points {
		texts = append(texts, p.Payload["text"].GetStringValue())
	}
	return texts, err
}
