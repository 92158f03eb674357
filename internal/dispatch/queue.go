package dispatch

import "container/heap"

// Queued is a thing that may wait in a Queue.
type Queued[T any] interface {
	// Before reports whether it is to be taken before o.
	Before(o T) bool
	// Place is where its place in the queue is kept: -1 when it is not queued. The
	// Queue alone changes that.
	Place() *int
}

// Queue is a heap of things that know where in it they are. The methods of
// heap.Interface are for it alone.
type Queue[T Queued[T]] []T

// Put puts x into the queue, or where it belongs by now if it is there.
func (q *Queue[T]) Put(x T) {
	if place := *x.Place(); place >= 0 {
		heap.Fix(q, place)
	} else {
		heap.Push(q, x)
	}
}

// Remove takes x out of the queue, if it is there.
func (q *Queue[T]) Remove(x T) {
	if place := *x.Place(); place >= 0 {
		heap.Remove(q, place)
	}
}

// Next takes the first out of the queue, which must not be empty.
func (q *Queue[T]) Next() T { return heap.Pop(q).(T) }

func (q Queue[T]) Len() int           { return len(q) }
func (q Queue[T]) Less(i, j int) bool { return q[i].Before(q[j]) }
func (q Queue[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	*q[i].Place(), *q[j].Place() = i, j
}

// Push implements heap.Interface.
func (q *Queue[T]) Push(x any) {
	*x.(T).Place() = len(*q)
	*q = append(*q, x.(T))
}

// Pop implements heap.Interface.
func (q *Queue[T]) Pop() any {
	var none T
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = none
	*q = old[:len(old)-1]
	*x.Place() = -1
	return x
}
