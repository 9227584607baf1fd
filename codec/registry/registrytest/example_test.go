package registrytest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/codec/registry/registrytest"
)

// A client reaches the registry without a network.
func Example() {
	server := registrytest.New()
	id := server.Add("payments-value", sr.Schema{Schema: `"string"`})
	client, err := sr.NewClient(server.Client()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := client.SchemaByID(context.Background(), id)
	fmt.Println(s.Schema, err)
	byGUID, err := client.SchemaByGUID(context.Background(), server.GUID("payments-value"))
	fmt.Println(byGUID.ID == id, err)

	server.Fail(registrytest.Down)
	_, err = client.SchemaByID(context.Background(), id)
	fmt.Println(errors.Is(err, registrytest.ErrDown), server.Requests())
	// Output:
	// "string" <nil>
	// true <nil>
	// true 3
}

// For tests that need an address, a server answers.
func ExampleRegistry_ServeHTTP() {
	registry := registrytest.New()
	server := httptest.NewServer(http.HandlerFunc(registry.ServeHTTP))
	defer server.Close()
	registry.Fail(registrytest.Unavailable)
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL+"/subjects", http.NoBody)
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	fmt.Println(response.StatusCode)
	// Output: 503
}
