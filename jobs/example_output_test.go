package jobs_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/pawl-go/pawl/jobs"
)

// A handler passes the provider's response on, unless it is an answer.
func ExampleResponseError() {
	for _, status := range []int{http.StatusOK, http.StatusPaymentRequired, http.StatusTooManyRequests, http.StatusBadGateway} {
		fmt.Println(jobs.ResponseError(&http.Response{StatusCode: status}))
	}
	// Output:
	// <nil>
	// <nil>
	// the provider answers with status 429
	// the provider answers with status 502
}

// A store calls WriteOutputs with the steps of a batch, in the batch's transaction. Steps that
// enqueue nothing cost nothing.
func ExampleQueue_WriteOutputs() {
	queue, err := jobs.NewQueue(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(queue.WriteOutputs(context.Background(), nil, nil))
	// Output: <nil>
}
