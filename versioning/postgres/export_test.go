package postgres

// Queued returns how many calls of Do wait for their batch to begin.
func (s *Store) Queued() int {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return len(s.calls.queue)
}
