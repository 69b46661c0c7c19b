// Stands for AITER's sorting kernels, whose text is part of their revision. As in the real file of AITER's commit
// e4048607, an expert id is used without a look whether it is negative.
inline void mark(const int* x, int num_experts, int* marks) {
  const int eid = x[0];
  if (eid < num_experts) marks[eid] = 1;
}
